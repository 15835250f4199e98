"""What is done with batches: creates sent once, results fetched once, rows sent again."""
