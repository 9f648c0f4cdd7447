"""A Celery application whose tasks ask Watchword; `test_sdk_fork.py` starts workers of it."""

import os

from celery import Celery

from watchword.client import Client, WatchwordError

client = Client.from_environment()
app = Celery(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": os.environ["TEST_BROKER"],
        "data_folder_out": os.environ["TEST_BROKER"],
        "control_folder": os.environ["TEST_BROKER"],
    },
    result_backend=f"file://{os.environ['TEST_RESULTS']}",
    worker_hijack_root_logger=False,
)


@app.task
def who(access_token: str) -> tuple[int, bool, str]:
    """Tell which process answered, whether its feed is live, and for whom."""
    client.ready()
    try:
        name = client.authenticate(access_token).user_id
    except WatchwordError as error:
        name = type(error).__name__
    return os.getpid(), client.status().fresh, name
