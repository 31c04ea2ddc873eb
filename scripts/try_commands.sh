#!/usr/bin/env bash
# The commands of the README, short, in an empty directory: `sedd` is whatever the PATH has. Needs the extras report and
# tune, the plugin sedd-curriculum-sigmoid, and no repository.
set -euo pipefail
tiny=(model.hidden_size=16 model.cond_dim=8 model.n_blocks=1 model.n_heads=2 training.n_iters=24 training.log_every=4
    training.eval_every=8 optim.warmup=2 curriculum.preschool_time=8 evaluation.sequences=24 checkpoint.every=8
    sampling.predictor=first_hitting 'sampling.at_steps=[]' device.type=cpu)

echo "-- what is installed"
sedd --version
sedd env
sedd plugins >plugins.txt
grep -q sigmoid plugins.txt

echo "-- the first run"
sedd forecast quickstart
sedd train quickstart "${tiny[@]}" --run runs/first --quiet
sedd diagnose runs/first
sedd report runs/first --quiet
test -s runs/first/report.html

echo "-- sequences of one's own"
sedd sample runs/first -n 80 --length 30 --seed 1 --out my.fasta --quiet
sedd train small data.train=my.fasta data.holdout=0.3 "${tiny[@]}" model.length=32 --run runs/mine --quiet
sedd train --resume --run runs/mine --quiet
sedd evaluate runs/mine --masks 2
sedd sample runs/mine -n 20 --out new.fasta --quiet
sedd quality new.fasta --reference my.fasta >quality.txt
head -n 2 my.fasta | sed 's/^>.*/>wild/' >wild.fasta
sedd score-variants runs/mine wild.fasta --all-singles --no-bound --out scores.csv --quiet
test "$(wc -l <scores.csv)" -gt 500
sedd embed runs/mine my.fasta embeddings.npz --quiet
test -s embeddings.npz
sedd data prepare my.fasta store --quiet
sedd data verify store

echo "-- a plugin"
sedd train quickstart "${tiny[@]}" curriculum.difficulty_ramp=sigmoid curriculum.steepness=12 --run runs/sigmoid --quiet
grep -q "difficulty_ramp: sigmoid" runs/sigmoid/config.yaml
sedd compare runs/first runs/sigmoid

echo "-- a log of another trainer"
printf 'step,loss\n0,0.2584\n500,0.7816\n1000,1.1741\n2500,2.0618\n5000,2.3268\n' >log.csv
sedd diagnose log.csv --config uniref50_aggressive --symbols 36

echo "-- a sweep"
sedd sweep quickstart "${tiny[@]}" data.synthetic.sequences=300 --vary optim.lr=1e-4,1e-2 \
    --trials 2 --seeds 2 --finalists 1 --run sweeps/first --quiet
test -s sweeps/first/report.html
sedd train sweeps/first/best.yaml --run runs/best --quiet
echo "Every command works."
