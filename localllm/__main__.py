"""`python -m localllm` is `localllm`."""

import sys

from localllm.cli.main import main

sys.exit(main())
