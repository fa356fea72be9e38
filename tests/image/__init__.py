"""The container image, built and run for real: `make image` and `make image-test`, which are no part of `make test`."""
