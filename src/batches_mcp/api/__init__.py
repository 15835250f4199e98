"""The batches of one account, as the Message Batches API has them."""
