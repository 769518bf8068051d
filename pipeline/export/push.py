"""Upload of an exported folder to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError, first_sentence, hush_requests


def check_push(config: DictConfig) -> None:
    """Check before any work that ``push`` can be done.

    Raises:
        UserError: If the name is none, there is no token, or nothing would be verified.
    """
    from huggingface_hub import constants, errors, get_token, utils  # an extra has it

    try:
        utils.validate_repo_id(config.push)
    except errors.HFValidationError as error:
        raise UserError(f"push={config.push}: {first_sentence(error)}.") from None
    if not config.verify:
        raise UserError("push: uploads verified files alone; leave verify=false out.")
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"push={config.push}: HF_HUB_OFFLINE is set; unset it.")
    if get_token() is None:
        raise UserError(
            f"push={config.push}: there is no token of the Hub; log in by `hf auth login`, or set "
            "HF_TOKEN."
        )


def push(config: DictConfig, folder: Path) -> str:
    """Upload a folder as one commit; return its address.

    A repository that is there is used as it is, but what is to be private is not put into a public
    one.

    Raises:
        UserError: If the Hub refuses, or cannot be reached; nothing was uploaded then.
    """
    from huggingface_hub import HfApi

    api, name, private = HfApi(library_name="learned-saliency"), config.push, config.private
    hush_requests()
    remedy = f"{folder} is complete, push it again by export.py or `hf upload`"
    try:
        api.create_repo(name, private=private, exist_ok=True)
        public = private and not api.model_info(name).private
        if not public:
            message = "Upload a learned saliency model"
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
    except Exception as error:  # whatever the libraries of the network raise
        raise UserError(
            f"push={name}: is not uploaded ({first_sentence(error)}); {remedy}."
        ) from None
    raise UserError(
        f"push={name}: is not uploaded, the repository is public; private=false allows that. "
        f"{folder} is complete."
    )
