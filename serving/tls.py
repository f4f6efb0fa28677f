"""TLS and mutual TLS, for both protocols of the server and for its client."""

import ssl
from pathlib import Path

import grpc

from configs.errors import UserError


class ServerTls:
    """A server's certificate and, for mutual TLS, whose clients it takes."""

    def __init__(self, *, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Reads the files once; a renewed certificate needs a new start.

        Args:
            certificate: PEM, the server's own first, then the intermediate ones.
            key: PEM of its private key, without a passphrase.
            client_ca: PEM of the authorities of clients' certificates; a client without one of
                theirs is refused. None: any client.

        Raises:
            UserError: a file cannot be read or is not what it should be; it names the flag.
        """
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        chain, private = _read_pem("ssl_certificate", certificate), _read_pem("ssl_key", key)
        try:
            # An empty password, so that a key with a passphrase does not ask the terminal for it.
            self.context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, OSError) as error:
            raise UserError(
                f"--ssl_certificate={certificate}, --ssl_key={key}: found {_reason(error)},"
                " expected a certificate and its key without a passphrase, both PEM"
            ) from error
        authorities = None
        if client_ca is not None:
            authorities = _read_pem("client_ca", client_ca)
            try:
                self.context.load_verify_locations(client_ca)
            except (ssl.SSLError, OSError) as error:
                raise UserError(
                    f"--client_ca={client_ca}: found {_reason(error)}, expected PEM certificates"
                ) from error
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.grpc_credentials = grpc.ssl_server_credentials(
            [(private, chain)],
            root_certificates=authorities,
            require_client_auth=client_ca is not None,
        )


def client_credentials(
    *, ca_certificate: Path | None, client_certificate: Path | None, client_key: Path | None
) -> grpc.ChannelCredentials | None:
    """What a client checks the server by and shows of itself.

    Args:
        ca_certificate: PEM of the authority of the server's certificate; None: no TLS.
        client_certificate: PEM to show to a server that asks for one.
        client_key: PEM of its private key.

    Raises:
        UserError: a file cannot be read, or one is given without another; it names the flag.
    """
    if ca_certificate is None:
        for name, path in (("client_certificate", client_certificate), ("client_key", client_key)):
            if path is not None:
                raise UserError(f"--ca_certificate: found none, expected one beside --{name}")
        return None
    if (client_certificate is None) != (client_key is None):
        missing = "client_certificate" if client_certificate is None else "client_key"
        raise UserError(f"--{missing}: found none, expected both certificate and key")
    return grpc.ssl_channel_credentials(
        _read_pem("ca_certificate", ca_certificate),
        client_key and _read_pem("client_key", client_key),
        client_certificate and _read_pem("client_certificate", client_certificate),
    )


def _read_pem(flag: str, path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UserError: it cannot be read, or has no PEM in it; it names the flag.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"--{flag}={path}: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise UserError(f"--{flag}={path}: found no PEM in it, expected -----BEGIN …")
    return content


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
