"""Shows pipeline files with errors as an import error in the Airflow UI, without taking the other DAGs down."""

from include.embedding_etl.errors import ConfigError
from include.embedding_etl.pipeline_files import load_pipeline, pipeline_files
from include.embedding_etl.places import Places

problems = []
for file in pipeline_files(Places().pipelines_dir):
    try:
        load_pipeline(file)
    except ConfigError as error:
        problems.append(str(error))
if problems:
    raise ConfigError("These pipeline files have no DAG until they are mended:\n" + "\n".join(problems))
