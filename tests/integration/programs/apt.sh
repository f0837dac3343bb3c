# dpkg and apt-get: a local package is built, installed with what it depends on, listed, verified, upgraded, removed and purged.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH=86400
build() {
    local name=$1 version=$2 depends=$3
    mkdir -p "$name/DEBIAN" "$name/usr/share/$name" "$name/etc" "$name/usr/bin"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.invalid>\nDescription: a test\n' "$name" "$version" > "$name/DEBIAN/control"
    [[ -z $depends ]] || echo "Depends: $depends" >> "$name/DEBIAN/control"
    echo "/etc/$name.conf" > "$name/DEBIAN/conffiles"
    echo "setting $version" > "$name/etc/$name.conf"
    printf '#!/bin/sh\necho %s %s says "$@"\n' "$name" "$version" > "$name/usr/bin/$name"
    printf '#!/bin/sh\nset -e\necho "%s %s: postinst $1" >> /work/scripts\n' "$name" "$version" > "$name/DEBIAN/postinst"
    printf '#!/bin/sh\nset -e\necho "%s %s: prerm $1" >> /work/scripts\n' "$name" "$version" > "$name/DEBIAN/prerm"
    chmod 755 "$name/usr/bin/$name" "$name/DEBIAN/postinst" "$name/DEBIAN/prerm"
    for i in $(seq 200); do echo "$version $i" > "$name/usr/share/$name/data$i"; done
    dpkg-deb --root-owner-group --build "$name" "${name}_$version.deb" > /dev/null
    rm -r "$name"
}
build hello-base 1.0 ''
build hello-app 1.0 'hello-base (>= 1.0)'
build hello-app 2.0 'hello-base (>= 1.0)'
dpkg-deb --info hello-app_1.0.deb | grep Depends
dpkg-deb --contents hello-app_1.0.deb | wc -l
dpkg --install hello-app_1.0.deb > /dev/null 2>&1 || echo "without what it needs: $?"
apt-get install -qq -y -f ./hello-base_1.0.deb ./hello-app_1.0.deb > /dev/null
hello-app one two
dpkg-query --show 'hello-*'
dpkg --listfiles hello-app | wc -l
dpkg --verify hello-app && echo verified
echo changed > /usr/share/hello-app/data1
dpkg --verify hello-app || true
dpkg --search /usr/bin/hello-app
apt-get install -qq -y ./hello-app_2.0.deb > /dev/null
hello-app upgraded
cat /etc/hello-app.conf
apt-cache policy hello-app | sed -n 1,3p
apt-mark showmanual | grep hello
apt-get remove -qq -y hello-base > /dev/null
dpkg-query --show --showformat '${Package} ${db:Status-Abbrev}\n' 'hello-*'
apt-get purge -qq -y hello-app hello-base > /dev/null
dpkg-query --show 'hello-*' 2>/dev/null || echo "gone"
ls /etc/hello* 2>/dev/null || echo "no settings left"
dpkg --audit && echo "in order"
