# Every model the platform serves. Adding one is one entry here: it gets a repository, its place in the
# bucket, and logs; its name is the one in the model repo's mlops.yml.
models = {
  web-safety = ["phishing-url"]
}
