"""What `huggingface_hub` raises, said again as one built-in error that tells what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def said_clearly(repo: str, revision: str | None) -> Iterator[None]:
    """Raise what `huggingface_hub` raises in the block as the built-in error that it means.

    FileNotFoundError for what does not exist, PermissionError for what is refused, ConnectionError
    for what does not answer, ValueError for a malformed name. Errors of the disk pass through.
    """
    from huggingface_hub import errors

    known = (
        errors.HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        errors.HFValidationError,
        errors.EntryNotFoundError,
        errors.OfflineModeIsEnabled,
        errors.LocalTokenNotFoundError,
        errors.FileMetadataError,
    )
    try:
        yield
    except known as error:
        raise _clear(error, repo, revision) from error
    except RuntimeError as error:  # what uploads and hf_xet wrap their failures in
        raise _clear(error.__cause__ or error, repo, revision) from error


def _clear(error: BaseException, repo: str, revision: str | None) -> Exception:
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{repo}"
    login = "pass token=... or run `hf auth login`"
    match error:
        case errors.HFValidationError():
            return ValueError(
                f"{repo}: found neither a folder nor a repository id, expected 'owner/name' or a "
                "path; write './' in front of a path"
            )
        case errors.LocalTokenNotFoundError():
            return PermissionError(f"{repo}: found no token; {login}")
        case errors.LocalEntryNotFoundError():
            cause = error.__cause__
            if isinstance(cause, errors.HTTPError):  # pyright: ignore[reportPrivateImportUsage]
                return _clear(cause, repo, revision)
            reason = "HF_HUB_OFFLINE is set" if cause else "only local files are allowed"
            return FileNotFoundError(
                f"{repo}: what is needed of revision {revision or 'main'} is not in the cache, and "
                f"{reason}; allow downloads once"
            )
        case errors.OfflineModeIsEnabled():
            return ConnectionError(f"{repo}: cannot be reached: HF_HUB_OFFLINE is set; unset it")
        case errors.GatedRepoError():
            return PermissionError(f"{repo}: is gated; accept its terms at {page}, then {login}")
        case errors.RepositoryNotFoundError():
            return FileNotFoundError(
                f"{repo}: found no such repository, or it is private; check the name, or {login}"
            )
        case errors.RevisionNotFoundError():
            name = revision or "main"
            return FileNotFoundError(f"{repo}: has no revision {name!r}; see {page}/branches")
        case errors.EntryNotFoundError():
            return FileNotFoundError(f"{repo}: lacks a file that it lists; try again later")
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            status = error.response.status_code
            return PermissionError(
                f"{repo}: access refused ({status}); check what the token allows, or {login}"
            )
        case errors.HfHubHTTPError():
            return ConnectionError(
                f"{repo}: {constants.ENDPOINT} answered {error.response.status_code}; try again "
                f"later ({_short(error)})"
            )
        case errors.HTTPError():  # pyright: ignore[reportPrivateImportUsage]
            return ConnectionError(
                f"{repo}: {constants.ENDPOINT} cannot be reached ({_short(error)}); check the "
                "connection, or set HF_HUB_OFFLINE=1 to use the cache"
            )
    return ConnectionError(f"{repo}: the transfer failed ({_short(error)}); try again")


def _short(error: BaseException) -> str:
    text = (str(error) or type(error).__name__).strip().splitlines()[0]
    return text if len(text) < 120 else f"{text[:117]}..."
