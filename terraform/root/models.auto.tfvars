# Every model the platform serves. Adding one is one entry here: project, model, and the GitLab project whose
# jobs may build, train and deploy it, and whose code alone becomes a version of it. It gets a repository, its
# place in the bucket, logs and alarms; its name is the one in the model repo's mlops.yml.
models = {
  web-safety = {
    phishing-url = "models/phishing-url"
  }
}
