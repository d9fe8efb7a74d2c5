# Puts the schemas of two versions of Kubernetes into the folder $1, each in a folder with its name.
set -eu
out=$1
sh install.sh "$PWD/python" sys
mkdir "$out/schemas"
for version in v1.32.0 v1.37.0; do
  cp -r "$(echo "$PWD"/python/lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema/$version-local-strict)" \
    "$out/schemas/$version"
  # A reference is to the file beside it, and not to an address.
  sed -i -e '/^  "$id": /s/$id/$comment/' -e 's#"/api/_definitions.json#"_definitions.json#' "$out/schemas/$version"/*.json
done
