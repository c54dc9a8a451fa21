// Initiates the replica set and makes Belfry's user. mongosh runs it at every
// start: what is there already is left, but the user's password becomes the
// one given.
const env = process.env;
const admin = db.getSiblingDB('admin');
admin.auth(env.MONGO_INITDB_ROOT_USERNAME, env.MONGO_INITDB_ROOT_PASSWORD);

if (!admin.hello().setName) {
  print('initiating the replica set');
  rs.initiate({ _id: 'belfry', members: [{ _id: 0, host: 'mongo:27017' }] });
}

const deadline = Date.now() + 60_000;
while (!admin.hello().isWritablePrimary) {
  if (Date.now() > deadline) {
    throw new Error('the replica set has no primary after 60 s');
  }
  sleep(250);
}

// readWrite is all that Belfry needs: it makes its own indexes.
const user = { pwd: env.MONGO_BELFRY_PASSWORD, roles: [{ role: 'readWrite', db: 'belfry' }] };
const belfry = db.getSiblingDB('belfry');
if (belfry.getUser('belfry')) {
  belfry.updateUser('belfry', user);
} else {
  print('making the user belfry');
  belfry.createUser({ user: 'belfry', ...user });
}
print('MongoDB is set up');
