"""What memory cannot hold: rows of people on disk, while a query runs."""

from pathlib import Path

from measure.engine.embedded import open_database


def test_each_database_spills_into_a_folder_of_its_own_that_only_the_owner_can_open():
    # Two databases of DuckDB that spill into one folder overwrite each other's files and crash.
    one, other = open_database(), open_database()
    folders = [
        Path(database.execute("SELECT current_setting('temp_directory')").fetchone()[0])
        for database in (one, other)
    ]
    assert folders[0] != folders[1]
    one.execute("SET memory_limit = '40MB'")
    one.execute("SET threads = 1")
    one.execute(
        "CREATE TEMP TABLE t AS SELECT md5(i::VARCHAR) AS a FROM range(1_000_000) t(i) ORDER BY a"
    )
    assert list(folders[0].glob("*.tmp"))
    assert not folders[1].exists()
    assert folders[0].parent.stat().st_mode & 0o077 == 0
    one.close()
    other.close()
    assert not folders[0].exists()
