"""How families of models write calls: one file a family."""
