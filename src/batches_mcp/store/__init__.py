"""What is kept on disk for an account: the ledger, the requests that were sent, and the results that were fetched."""
