"""A whole job from a shell: an input cut into batches, and their results put together again."""
