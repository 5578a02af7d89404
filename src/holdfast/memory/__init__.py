"""What do later sessions know? Projects, their sessions, and what is handed on: read off the journal, not off words."""
