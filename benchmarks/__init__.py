"""Measurements that anybody can repeat; the figures in the docs come from here."""
