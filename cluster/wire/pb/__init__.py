"""The protocol messages of Mesos, generated from the ``.proto`` files in this directory.

One module per file: ``from cluster.wire.pb import mesos_pb2 as mesos``; the v1 API is in
`cluster.wire.pb.v1`. The modules and their type stubs are written by
``python -m tools.generate_protos`` (part of every installation) and are never committed. Which
messages exist, with which fields and numbers, is checked against the specification's field table
by ``tests/unit/wire/test_descriptors.py``.

These are the historic names ("slave"), so only `cluster.wire` and the edges of the shells use
them; everything behind speaks `cluster.model`.
"""
