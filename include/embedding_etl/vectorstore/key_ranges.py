"""Cut the space of primary keys into ranges, so that a whole collection can be read in order and in pages.

Row ids are hex digits of a hash: ranges of equal width hold about the same number of rows. Ids of another form are
found too, only not evenly spread.
"""

import itertools
from dataclasses import dataclass

from include.embedding_etl.errors import IntegrityError
from include.embedding_etl.vectorstore.schema import ID_FIELD

_DIGITS = 12
_END = 16**_DIGITS


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Ids from `first` to before `behind`, as numbers of 12 hex digits. The two ends of the space are open."""

    first: int
    behind: int

    @classmethod
    def everything(cls) -> "KeyRange":
        """All ids."""
        return cls(0, _END)

    @property
    def expression(self) -> str:
        """The filter."""
        lower = f'{ID_FIELD} >= "{self.first:0{_DIGITS}x}"'
        upper = f'{ID_FIELD} < "{self.behind:0{_DIGITS}x}"'
        if self == KeyRange.everything():
            return f'{ID_FIELD} > ""'
        if self.first == 0:
            return upper
        return lower if self.behind == _END else f"{lower} and {upper}"

    def split(self, parts: int) -> list["KeyRange"]:
        """Ranges of equal width, in order.

        Raises:
            IntegrityError: it cannot be cut any further.
        """
        if self.behind - self.first < parts:
            raise IntegrityError(f"a single row is larger than what Milvus returns: {self.expression}")
        bounds = [self.first + (self.behind - self.first) * part // parts for part in range(parts + 1)]
        return [KeyRange(first, behind) for first, behind in itertools.pairwise(bounds)]
