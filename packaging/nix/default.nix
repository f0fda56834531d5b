# Not tried: written to the rules of Nixpkgs.  `nix-build packaging/nix` in a clone.
{ pkgs ? import <nixpkgs> { } }:

pkgs.stdenv.mkDerivation {
  pname = "imgbox";
  version = "@VERSION@";
  src = ../..;

  nativeBuildInputs = [ pkgs.pkg-config pkgs.lowdown ];
  buildInputs = with pkgs; [
    zlib libdeflate zstd bzip2 xz nettle libargon2 gnutls libnbd curl libssh libnfs libiscsi
  ];

  makeFlags = [ "PREFIX=$(out)" ];
  buildFlags = [ "all" "man" ];
  installFlags = [ "QEMU_IMG=yes" "INSTALL_STRIP=no" ];

  meta = {
    description = "Tools for disk images, a drop-in replacement of qemu-img";
    license = pkgs.lib.licenses.mit;
    platforms = pkgs.lib.platforms.linux;
    mainProgram = "imgbox";
  };
}
