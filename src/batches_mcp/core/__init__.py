"""What everything else stands on: errors, settings, plans, and texts that are safe to show."""
