"""What a terminal is told: widths, styles, Markdown that is styled as it comes, progress. It knows no model."""
