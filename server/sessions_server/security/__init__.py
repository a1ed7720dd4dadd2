"""Who may call, and how content is encrypted at rest."""
