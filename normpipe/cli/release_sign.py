"""`normpipe release sign`: the steward's name under a release."""

from pathlib import Path

import click

_EPILOG = """
\b
Example:
  openssl genpkey -algorithm ed25519 -out steward-private.pem
  openssl pkey -in steward-private.pem -pubout -out steward.pem
  normpipe release sign my-faces-1.0.0/ --key steward-private.pem
"""


@click.command(epilog=_EPILOG)
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--key", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Ed25519 private key (PEM).")
def sign(*, folder: Path, key: Path) -> None:
    """Write SHA256SUMS.sig, an Ed25519 signature of SHA256SUMS, after every file was verified.

    A key with a passphrase asks for it.
    """
    from normpipe.release.signature import is_encrypted
    from normpipe.release.signature import sign as sign_release

    passphrase = click.prompt("passphrase", hide_input=True, err=True).encode() if is_encrypted(key) else None
    sign_release(folder, key, passphrase)
    click.echo(f"{click.format_filename(folder)}: signed")
