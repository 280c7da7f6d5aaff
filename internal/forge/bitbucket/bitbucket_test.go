package bitbucket_test

const token = "ATCTT3xFfGN0c0ffee0123456789c0ffee01=C0FFEE01"
