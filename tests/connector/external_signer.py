"""An external signer as a process of its own: `python external_signer.py <folder> <verb> <key name>`.

Keeps its keys in files of the folder, made when they are first asked for. `<folder>/mood` says how it behaves.
"""

import os
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed


def key_of(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    file = folder / f"{name}.key"
    if not file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    loaded = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


def main(folder: Path, verb: str, name: str) -> int:
    mood = (folder / "mood").read_text() if (folder / "mood").exists() else "good"
    given = sys.stdin.buffer.read() if verb == "sign" and mood != "deaf" else b""
    with (folder / "asked").open("a") as asked:
        asked.write(f"{verb} {name} {len(given)}\n")
    match mood:
        case "hangs":
            time.sleep(60)
        case "dies":
            os.kill(os.getpid(), 9)
        case "fails":
            return 3
        case "silent":
            return 0
        case "babbles":
            sys.stdout.write("x" * 1_000_000)
            return 0
        case "lies":  # with a key that is not the authority's
            name = "another"
        case "garbles":
            sys.stdout.buffer.write(b"\x30\x03\x02\x01\x01")
            return 0
        case "trickles":
            for _ in range(1000):
                sys.stdout.write("x")
                sys.stdout.flush()
                time.sleep(0.05)
        case "other digest":
            given = bytes(32)
    key = key_of(folder, name)
    if verb == "public-key":
        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        sys.stdout.buffer.write(key.public_key().public_bytes(*form))
    else:
        sys.stdout.buffer.write(key.sign(given, ec.ECDSA(Prehashed(hashes.SHA256()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
