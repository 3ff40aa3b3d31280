"""Pipes rows of JSON lines through `cre extract RUN -` on PySpark's local cluster: pipe.py COMMAND INPUT OUTPUT_FOLDER"""

import sys

from pyspark.sql import SparkSession

command, source, output = sys.argv[1:]
spark = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
# Spark's checkCode makes a failure of the command one of the job.
spark.sparkContext.textFile(source, 2).pipe(command, checkCode=True).saveAsTextFile(output)
spark.stop()
