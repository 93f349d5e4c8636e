"""Endpoints: what the daemons show over HTTP."""
