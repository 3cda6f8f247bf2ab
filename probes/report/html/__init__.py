"""Pages: `page` renders them from `templates/`; the other modules give it what they show."""
