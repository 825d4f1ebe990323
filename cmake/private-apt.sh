# Sourced: an apt configuration of our own in DIR, made from the machine's Debian or Ubuntu sources; the user's stays untouched.
#   private_apt DIR deb|deb-src [ARCH]    sets the array `apt_options`
# Where the machine's mirror does not carry ARCH, name one line per source in the file $TESSERA_APT_SOURCES.
private_apt() {
  local dir=$1 kind=$2 arch=${3:-}
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  if [ -n "${TESSERA_APT_SOURCES:-}" ]; then
    cp "$TESSERA_APT_SOURCES" "$dir/sources.list"
  else
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(SUITE)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
      awk -F'|' -v kind="$kind" -v arch="$arch" '$1 ~ /Debian|Ubuntu/ {
        print kind (arch != "" ? " [arch=" arch "]" : "") " " $2 " " $5 " " $6 }' | sort -u >"$dir/sources.list"
  fi
  apt_options=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
    -o "Dir::Cache=$dir/cache" -o Dir::State::status=/dev/null -o APT::Sandbox::User=)
  [ -z "$arch" ] || apt_options+=(-o "APT::Architecture=$arch" -o "APT::Architectures::=$arch")
}
