"""Where the recorded server is: set by record.py."""

import os
import types

DIALECT = os.environ.get("RECORD_DIALECT", "")
place = types.SimpleNamespace(
    host="127.0.0.1",
    port=int(os.environ["RECORD_PORT"]),
    user=os.environ["RECORD_USER"],
    password=os.environ["RECORD_PASSWORD"],
    database=os.environ["RECORD_DATABASE"],
    ca=os.environ["RECORD_CA"],
)
