"""One exchange with the upstream: a request built, sent, and its answer shaped or turned into an error."""
