"""Sending a batch, so that nothing is paid twice: the gate that every create passes, and what is remembered of it."""
