"""From files to ids."""
