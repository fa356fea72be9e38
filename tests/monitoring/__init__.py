"""A real Prometheus watches a real daemon: `make monitoring-test`, which is no part of `make test`."""
