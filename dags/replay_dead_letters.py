"""Try objects again that could not be processed: choose them by the form, ingest, say what became of them."""

from datetime import datetime

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, task

from include.embedding_etl.steps import dead_letters as steps
from include.embedding_etl.steps.dag_defaults import default_args, valid_pipelines
from include.embedding_etl.steps.notifications import tell_failure

DOC = """Objects that cannot be processed become dead letters. Those that changed are tried again by themselves, and so
are those that met a limit which was raised since. For the others, when you have mended what was wrong around them:

1. Trigger this DAG with the form. What is left empty means all.
2. `choose` makes the letters due, `ingest` runs `ingest__<pipeline>` and waits for it, `report` says how many are
   healed and names those that failed again.

Green: the ingestion is green and has tried all of them, whether they are healed or failed again. Red: it is not, or has
not. Skipped after `choose`: nothing to replay. On the command line: `etl dead-letters replay <pipeline>`.
"""
PIPELINE = "{{ params.pipeline }}"

pipelines = valid_pipelines()
if pipelines:
    names = [pipeline.name for pipeline in pipelines]
    lanes = sorted({lane for pipeline in pipelines for lane in pipeline.lanes})
    with DAG(
        dag_id="replay_dead_letters",
        description="Try objects again that could not be processed",
        doc_md=DOC,
        schedule=None,
        start_date=datetime(2024, 1, 1),
        catchup=False,
        tags=["embedding-etl", "failures"],
        params={
            "pipeline": Param(
                names[0], type="string", enum=names, title="Pipeline", description="A file in include/pipelines/."
            ),
            "lane": Param(
                steps.ALL_LANES,
                type="string",
                enum=[steps.ALL_LANES, *lanes],
                title="Lane",
                description="All lanes, or one of that pipeline.",
            ),
            "error_class": Param(
                None,
                type=["null", "string"],
                examples=[
                    "BadVector",
                    "CorruptDocx",
                    "CorruptImage",
                    "CorruptPdf",
                    "DecodeTimeout",
                    "DecoderCrashed",
                    "EncryptedPdf",
                    "Forbidden",
                    "InputRefused",
                    "NoText",
                    "NothingToEmbed",
                    "OutOfMemory",
                    "TruncatedImage",
                ],
                title="Error class",
                description="As `etl dead-letters list` shows it. Empty: every class.",
            ),
            "key_glob": Param(
                None,
                type=["null", "string"],
                examples=["scans/**", "*.pdf", "2026/*/report-?.docx"],
                title="Keys",
                description="`*` stops at a slash, `**` does not. Without a slash only the last part of the key "
                "counts. Empty: every key.",
            ),
            "since": Param(
                None,
                type=["null", "string"],
                format="date-time",
                title="Failed since",
                description="Only those whose last failure was then or later. Empty: at any time.",
            ),
            "ids": Param(
                None,
                type=["null", "array"],
                items={"type": "integer"},
                title="Letters",
                description="Only these, by their ids, dismissed ones too: what the Failures page fills in.",
            ),
        },
        default_args=default_args(),
        on_failure_callback=tell_failure,
    ):
        chosen = task.short_circuit(steps.choose)(PIPELINE)
        ingested = TriggerDagRunOperator(
            task_id="ingest",
            trigger_dag_id=f"ingest__{PIPELINE}",
            wait_for_completion=True,
            deferrable=True,  # hours of waiting take no worker
            poke_interval=10,
            fail_when_dag_is_paused=True,  # its run would be queued for ever
            note="Started by replay_dead_letters",
            retries=0,  # a red ingestion is for a person to look at; the letters stay due
        )
        # It must run and must raise: it is what makes a run green or red.
        reported = task(trigger_rule="all_done")(steps.report)(PIPELINE)
        chosen >> ingested >> reported
