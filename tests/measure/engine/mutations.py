"""Files as they arrive when something went wrong on the way, and a second opinion on their rows."""

import csv
import gzip
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq

HEADER = ["conversion_id", "order_id", "customer_id", "ts", "value", "refunded_value", "currency",
          "status"]  # fmt: skip
ODD = {
    "ts": ["1710055800", "1710055800000", "2024-03-10T07:30:00", "2016-12-31T23:59:60Z",
           "9999-12-31T00:00:00Z", "1969-12-31T23:59:59Z", "2024-03-10T07:30:00+05:45",
           "2024-03-10T07:30:00+99:99", "2024-02-30T00:00:00Z", "infinity", "", "epoch"],
    "value": ["1e400", "1_000", "007", "nan", "-inf", "1,5", "0x10", "1.0", "", "9" * 40, "١٢"],
    "status": ["Paid", "paid ", "", "\u0000", "paid\nrefunded"],
    "customer_id": ["007", "1e5", "12345678901234567890", "NULL", "NA", "\u202e", "e\u0301", "'",
                    "x" * 20_000, "=1+1", '"', "a,b", "a\r\nb", "\ufeff"],
}  # fmt: skip


def rows(chance, how_many=12):
    """Plain rows, some of them with a value that no column should take for another."""
    made = []
    for number in range(how_many):
        row = dict(zip(HEADER, [f"c{number}", f"o{number}", f"u{number % 5}",
                                f"2024-03-{number % 28 + 1:02d}T07:30:00Z", str(number * 10), "0",
                                "USD", "paid"], strict=True))  # fmt: skip
        if chance.random() < 0.4:
            column = chance.choice(sorted(ODD))
            row[column] = chance.choice(ODD[column])
        made.append(row)
    return made


def as_csv(table, *, line="\n", header=None):
    """Rows as CSV text, quoted where needed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=line)
    writer.writerow(header or HEADER)
    writer.writerows(row.values() for row in table)
    return out.getvalue()


def as_parquet(table):
    """Rows as a Parquet file of texts."""
    out = io.BytesIO()
    columns = {name: [row.get(name) for row in table] for name in HEADER}
    pq.write_table(pa.table(columns), out, compression="snappy")
    return out.getvalue()


def _flipped(data, chance):
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _spliced(data, chance, piece):
    place = chance.randrange(len(data))
    return data[:place] + piece + data[place:]


def _mixed_ends(data, chance):
    return b"".join(part + chance.choice([b"\n", b"\r\n", b"\r"]) for part in data.split(b"\n"))


BYTES = {
    "bit flips": _flipped,
    "cut off": lambda data, chance: data[: chance.randrange(1, len(data))],
    "a NUL": lambda data, chance: _spliced(data, chance, b"\0"),
    "a stray quote": lambda data, chance: _spliced(data, chance, b'"'),
    "a stray line end": lambda data, chance: _spliced(data, chance, b"\n"),
    "a blank line": lambda data, chance: data.replace(b"\n", b"\n\n", chance.randint(1, 3)),
    "mixed line ends": _mixed_ends,
    "latin-1": lambda data, chance: _spliced(data, chance, "é".encode("latin-1")),
    "UTF-16": lambda data, chance: data.decode().encode(chance.choice(["utf-16", "utf-16-le"])),
    "UTF-8 with a mark": lambda data, _: b"\xef\xbb\xbf" + data,
    "a part twice": lambda data, chance: data + data[chance.randrange(len(data)) :],
    "a long line": lambda data, chance: _spliced(data, chance, b"x" * 300_000),
    "whole": lambda data, _: data,
}  # fmt: skip


def _usable(kind, chance):
    """Half of the damage is of the kind that a file may survive."""
    if kind == "parquet":
        return ["bit flips", "cut off", "a part twice", "whole"]
    if chance.random() < 0.5:
        return list(BYTES)
    return ["bit flips", "a blank line", "a stray quote", "UTF-8 with a mark", "whole"]


def mutated(seed):
    """Return name and bytes of a damaged file; a seed always makes the same one."""
    chance = random.Random(seed)
    table = rows(chance)
    kind = ["csv", "jsonl", "json", "parquet"][seed % 4]
    if kind == "csv":
        text = as_csv(table, line=chance.choice(["\n", "\r\n"]))
    elif kind == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
    else:
        text = json.dumps(table, ensure_ascii=False)
    data = as_parquet(table) if kind == "parquet" else text.encode("utf-8")
    data = BYTES[chance.choice(_usable(kind, chance))](data, chance)
    if chance.random() < 0.15:
        packed = gzip.compress(data)
        if chance.random() < 0.5:
            packed = chance.choice([packed[:-5], packed[:-8] + b"\0" * 8, _flipped(packed, chance)])
        return f"{seed}.{kind}.gz", packed
    return f"{seed}.{kind}", data


def counted(name, data):
    """Rows of a file that could be read, by parsers that are not ours."""
    if name.endswith(".gz"):
        name, data = name.removesuffix(".gz"), gzip.decompress(data)
    if name.endswith("parquet"):
        return pq.read_table(io.BytesIO(data)).num_rows
    text = data.decode("utf-8-sig")
    if name.endswith("csv"):
        csv.field_size_limit(10_000_000)
        return sum(1 for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row) - 1
    if name.endswith("jsonl"):
        return sum(1 for line in text.splitlines() if line.strip())
    return len(json.loads(text))
