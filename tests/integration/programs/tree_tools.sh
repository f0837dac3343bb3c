# coreutils, tar, find, grep, sed, awk and sort over a tree of a thousand files.
set -euo pipefail
mkdir -p tree/{a..j}/{0..9}
n=0
for dir in tree/*/*; do
    for i in 0 1 2 3 4 5 6 7 8 9; do
        n=$((n + 1))
        printf 'file %d\nline of words %d\n' "$n" $((n * 7)) > "$dir/f$i.txt"
    done
done
ln -s a/0/f0.txt tree/link
ln tree/a/0/f0.txt tree/hard
find tree -type f | wc -l
find tree -name 'f3.txt' -path '*/b/*' | sort | sed -n 1,3p
grep -rl 'line of words 77$' tree | sort
grep -rc 'words' tree | awk -F: '{ sum += $2 } END { print "matches", sum }'
find tree -type f -print0 | xargs -0 sed -i 's/words/WORDS/'
grep -rh WORDS tree | sort | md5sum
tar --sort=name --mtime=@1000000 --owner=0 --group=0 -cf tree.tar tree
md5sum tree.tar
mkdir copy && tar -xf tree.tar -C copy
diff -r tree copy/tree && echo identical
gzip -9n < tree.tar | md5sum
cp -a tree again && du -s --apparent-size --block-size=1M again | cut -f1
find again -name '*.txt' -newer tree.tar | wc -l
rm -r again copy tree.tar
awk 'BEGIN { for (i = 0; i < 100000; i++) a[i % 97] += i; for (k in a) s += a[k]; print s }'
seq 1 400000 > tree.bytes
seq 1 200000 | shuf --random-source=tree.bytes | sort -nr | sed -n 1,2p && rm tree.bytes
dd if=/dev/zero of=zeros bs=1M count=8 status=none && cksum zeros
split -b 1M zeros part. && ls part.* | wc -l && rm part.* zeros
stat -c '%A %h %s %N' tree/link tree/hard
comm -12 <(seq 10 15) <(seq 12 19) | paste -sd,
touch -d @86400 dated && stat -c '%Y' dated
realpath --relative-to=/ tree/a/../b
mkdir -m 700 private && stat -c %a private
install -m 755 -D tree/a/0/f1.txt deep/er/installed && stat -c %a deep/er/installed
chmod -R u=rwX,go=rX tree
truncate -s 1G sparse && du --block-size=1K sparse | cut -f1 && rm sparse
