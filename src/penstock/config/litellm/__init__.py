"""A LiteLLM proxy's config.yaml -> a Penstock config, with a note for every field that has no place in it.

The format is that of LiteLLM's documentation: docs/proxy/configs.md, config_settings.md, virtual_keys.md and
budget_reset_and_tz.md of github.com/BerriAI/litellm-docs.
"""
