"""Restoration: gaps that are filled and errors that are repaired, by a forward and a backward model of one alphabet."""
