"""Who calls a service, for which team, and what that allows."""
