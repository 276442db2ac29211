"""What tests of prompts on disk share."""

from localllm.generate.prompt_cache import PromptCache
from tests.generate.test_prompt_cache import read


def keep(model, folder, ids, **options):
    """What a process leaves in the folder that reads a prompt."""
    context = model.context()
    cache = PromptCache(context, 0, folder, **options)
    match = cache.find(ids)
    known = match.restore_into(context, 0)
    if match.mark:
        read(context, ids[: match.mark])
        cache.save(context, 0, ids[: match.mark])
    read(context, ids)
    cache.save(context, 0, ids)
    cache.close(60)
    context.close()
    return known


def saved(folder):
    return sorted(folder.glob("*.prompt"))
