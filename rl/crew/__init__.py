"""Who does the work, behind one small interface (``protocol``): this process (``local``) or Ray actors (``ray``)."""
