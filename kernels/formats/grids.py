"""The grids of the I-formats: tables of four or eight elements, taken from the gguf package when a kernel compiles."""

from ..simd import Table


def _grid(name: str, factor: int = 1, plus: int = 0) -> Table:
    """Entries of a format's grid, a byte an element, each times `factor` and `plus` that."""

    def entries() -> bytes:
        import numpy as np
        from gguf import quants

        format_ = getattr(quants, name)
        format_.init_grid()
        return (format_.grid * factor + plus).astype(np.uint8).tobytes()

    return Table(name, entries)


IQ2_XXS, IQ2_XS, IQ2_S = _grid("IQ2_XXS"), _grid("IQ2_XS"), _grid("IQ2_S")
"""256, 512 and 1024 entries of 8 elements, each 8, 25 or 43."""

IQ3_XXS, IQ3_S = _grid("IQ3_XXS"), _grid("IQ3_S")
"""256 and 512 entries of 4 elements: 4, 12, ... 52 and 62; odd numbers to 15."""

IQ1 = _grid("IQ1_S", 8, 9)
"""2048 entries of 8 elements, each 8 * g + 9 for g of -1, 0, 1: in eighths, with room for a delta of one either way."""
