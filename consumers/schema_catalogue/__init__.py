"""The catalogue of payload types as people browse it: what each is, who owns, writes, reads it.

- entries  what there is to say of each type, gathered from folders and code; pure
- page     the same as one page of HTML; pure
"""

from consumers.schema_catalogue.entries import FieldEntry, TypeEntry, VersionEntry, entries_of
from consumers.schema_catalogue.page import catalogue_page

__all__ = ["FieldEntry", "TypeEntry", "VersionEntry", "catalogue_page", "entries_of"]
