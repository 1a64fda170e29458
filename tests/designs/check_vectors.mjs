// Checks the published vectors in JavaScript: node check_vectors.mjs vectors.json.gz
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const bucket = (salt, id) => {
  const text = `${salt}\u001f${id.normalize("NFC")}`;
  const hex = createHash("sha256").update(text, "utf8").digest("hex");
  return BigInt(`0x${hex.slice(0, 15)}`);
};

// Buckets exceed 2^53, so their digits are read as text before JSON turns them into doubles.
const text = gunzipSync(readFileSync(process.argv[2])).toString("utf8");
const exact = text.replace(/"bucket":(\d+)/g, '"bucket":"$1"');
const { vectors, normalised } = JSON.parse(exact);
let agree = 0;
for (const { salt, id, raw, bucket: expected } of [...vectors, ...normalised]) {
  if (bucket(salt, id ?? raw) === BigInt(expected)) agree += 1;
  else console.error(`salt ${salt}, id ${JSON.stringify(id ?? raw)}: not ${expected}`);
}
console.log(`${agree} buckets agree`);
process.exit(agree === vectors.length + normalised.length ? 0 : 1);
