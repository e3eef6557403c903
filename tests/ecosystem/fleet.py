"""Runs the queries of examples/fleet.sql over a dataset, with DuckDB or Spark, and prints their rows as JSON: {name: [[...], ...]}.

    fleet.py duckdb|spark DATASET QUERIES
"""

import datetime
import json
import re
import sys

engine, dataset, queries = sys.argv[1:]
TABLES = ["events", "holds", "incidents", "hazards", "statements", "processes"]


def named(text):
    for part in text.split(";"):
        name = re.search(r"^-- (\w+): ", part, re.M)
        if name and "SELECT" in part:
            yield name[1], part


def plain(value):
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    return value


if engine == "duckdb":
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    for table in TABLES:
        connection.execute(
            f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{dataset}/{table}/*/*/*.parquet',"
            " hive_types = {'host': VARCHAR, 'day': DATE})"
        )

    def run(sql):
        return connection.execute(sql).fetchall()
else:
    import glob
    import os
    import tempfile
    import zipfile

    import pyspark
    from pyspark.sql import SparkSession

    # Where Debian's musl is installed beside glibc, snappy-java takes its library for musl, which cannot be loaded here: it gets the other one.
    snappy = tempfile.TemporaryDirectory()
    [jar] = glob.glob(os.path.join(os.path.dirname(pyspark.__file__), "jars", "snappy-java-*.jar"))
    with zipfile.ZipFile(jar) as archive:
        arch = "aarch64" if os.uname().machine == "aarch64" else "x86_64"
        library = archive.read(f"org/xerial/snappy/native/Linux/{arch}/libsnappyjava.so")
    with open(os.path.join(snappy.name, "libsnappyjava.so"), "wb") as file:
        file.write(library)
    options = f"-Dorg.xerial.snappy.lib.path={snappy.name} -Dorg.xerial.snappy.lib.name=libsnappyjava.so"

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.driver.extraJavaOptions", options)
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    for table in TABLES:
        session.read.parquet(f"{dataset}/{table}").createOrReplaceTempView(table)

    def run(sql):
        return [tuple(row) for row in session.sql(sql).collect()]


with open(queries) as file:
    print(json.dumps({name: [[plain(cell) for cell in row] for row in run(sql)] for name, sql in named(file.read())}))
