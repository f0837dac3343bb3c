# git: a repository of a thousand files through its life.
set -euo pipefail
export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'
git config --global user.name Tester
git config --global user.email tester@example.invalid
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global safe.directory '*'
git init -q repo
cd repo
mkdir -p src/{a..j}
for i in $(seq 1 1000); do echo "content $i" > "src/$(printf '%s' abcdefghij | cut -c$((i % 10 + 1)))/file$i"; done
git add .
git commit -qm 'a thousand files'
git rev-parse HEAD
git ls-files | wc -l
sed -i 's/content/changed/' src/a/*
git status --short | wc -l
git diff --stat | tail -1
git commit -qam change
git checkout -q -b side HEAD~1
echo side > side.txt && git add side.txt && git commit -qm side
git checkout -q main
git merge -q --no-edit side
git log --oneline --graph | cat
git clone -q . ../clone
git -C ../clone log --format=%H -1
git fsck --full
git gc -q
git count-objects -v | grep -E '^(count|in-pack|packs)'
git archive HEAD | tar -t | wc -l
git stash list | wc -l
git grep -c changed | wc -l
git worktree add -q ../tree side && ls ../tree | wc -l
cd ..
rm -rf repo clone tree
