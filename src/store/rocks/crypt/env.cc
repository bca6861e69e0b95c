/* env.cc - RocksDB's files go through cipher.c.
 *
 * RocksDB has a file system that asks a provider for the prefix of each file and for its cipher;
 * here is such a provider. A file of an ingest is opened once more to be synced, and that file
 * system would put a second prefix behind it: such a file is given out as one that cannot be
 * written to.
 *
 * RocksDB's C interface wraps an environment in a struct of two members that no header has. It is
 * repeated here, as it stands from version 7.8 to 10; crypt_env_new() refuses a library of another
 * version than the headers, and rocks_open() looks whether what was written is encrypted. */
#include <rocksdb/env.h>
#include <rocksdb/env_encryption.h>
#include <rocksdb/version.h>

#include <memory>
#include <string>

/* last: it forbids names that the headers above use */
extern "C" {
#include "store/rocks/crypt/env.h"
}

#if ROCKSDB_MAJOR < 7 || (ROCKSDB_MAJOR == 7 && ROCKSDB_MINOR < 8) || ROCKSDB_MAJOR > 10
#error "read RocksDB's db/c.cc and env_encryption.h anew: rocksdb_env_t, EncryptionProvider"
#endif

using namespace ROCKSDB_NAMESPACE;

struct rocksdb_env_t {
    Env *rep;
    bool is_default;
};

namespace {

class Stream : public BlockAccessCipherStream {
  public:
    explicit Stream(struct cipher *c) : cipher(c)
    {
    }
    ~Stream() override
    {
        cipher_free(cipher);
    }
    size_t BlockSize() override
    {
        return 1; /* any range is as good as another */
    }
    Status Encrypt(uint64_t offset, char *data, size_t n) override
    {
        cipher_apply(cipher, offset - CIPHER_PREFIX, data, data, n);
        return Status::OK();
    }
    Status Decrypt(uint64_t offset, char *data, size_t n) override
    {
        return Encrypt(offset, data, n);
    }

  protected:
    void AllocateScratch(std::string &) override
    {
    }
    Status EncryptBlock(uint64_t, char *, char *) override
    {
        return Status::NotSupported();
    }
    Status DecryptBlock(uint64_t, char *, char *) override
    {
        return Status::NotSupported();
    }

  private:
    struct cipher *cipher;
};

class Provider : public EncryptionProvider {
  public:
    explicit Provider(const struct cipher_ring *r) : ring(r)
    {
    }
    const char *Name() const override
    {
        return "fhirlake";
    }
    size_t GetPrefixLength() const override
    {
        return CIPHER_PREFIX;
    }
    Status CreateNewPrefix(const std::string &, char *prefix, size_t) const override
    {
        cipher_free(cipher_new(ring, reinterpret_cast<unsigned char *>(prefix)));
        return Status::OK();
    }
    Status AddCipher(const std::string &, const char *, size_t, bool) override
    {
        return Status::NotSupported();
    }
    Status CreateCipherStream(const std::string &, const EnvOptions &, Slice &prefix,
                              std::unique_ptr<BlockAccessCipherStream> *result) override
    {
        struct cipher *c = nullptr;
        if (prefix.size() < CIPHER_PREFIX ||
            cipher_of(ring, reinterpret_cast<const unsigned char *>(prefix.data()), &c, nullptr) !=
                ERR_OK)
            return Status::Corruption("the beginning of an encrypted file");
        result->reset(new Stream(c));
        return Status::OK();
    }

  private:
    const struct cipher_ring *ring;
};

/* Can be synced and closed, and loses what was reserved behind its end: RocksDB does that to the
 * newest log of an opening. Sizes are those without the prefix, as everywhere above. */
class Finished : public FSWritableFileOwnerWrapper {
  public:
    using FSWritableFileOwnerWrapper::Append;
    using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
    using FSWritableFileOwnerWrapper::PositionedAppend;
    IOStatus Append(const Slice &, const IOOptions &, IODebugContext *) override
    {
        return IOStatus::NotSupported("an encrypted file is written once");
    }
    IOStatus PositionedAppend(const Slice &, uint64_t, const IOOptions &, IODebugContext *) override
    {
        return IOStatus::NotSupported("an encrypted file is written once");
    }
    IOStatus Truncate(uint64_t size, const IOOptions &options, IODebugContext *dbg) override
    {
        return FSWritableFileOwnerWrapper::Truncate(size + CIPHER_PREFIX, options, dbg);
    }
    uint64_t GetFileSize(const IOOptions &options, IODebugContext *dbg) override
    {
        const uint64_t size = FSWritableFileOwnerWrapper::GetFileSize(options, dbg);
        return size < CIPHER_PREFIX ? 0 : size - CIPHER_PREFIX;
    }
};

class Files : public FileSystemWrapper {
  public:
    Files(const std::shared_ptr<FileSystem> &plain_files, const struct cipher_ring *ring)
        : FileSystemWrapper(NewEncryptedFS(plain_files, std::make_shared<Provider>(ring))),
          plain(plain_files)
    {
    }
    const char *Name() const override
    {
        return "fhirlake";
    }
    IOStatus ReopenWritableFile(const std::string &name, const FileOptions &options,
                                std::unique_ptr<FSWritableFile> *result,
                                IODebugContext *dbg) override
    {
        std::unique_ptr<FSWritableFile> file;
        IOStatus s = plain->ReopenWritableFile(name, options, &file, dbg);
        if (s.ok())
            result->reset(new Finished(std::move(file)));
        return s;
    }

  private:
    std::shared_ptr<FileSystem> plain;
};

} // namespace

extern "C" rocksdb_env_t *crypt_env_new(const struct cipher_ring *ring)
{
    const std::string version =
        std::to_string(ROCKSDB_MAJOR) + "." + std::to_string(ROCKSDB_MINOR) + ".";
    if (GetRocksVersionAsString(true).compare(0, version.size(), version) != 0)
        return nullptr;
    Env *base = Env::Default();
    std::unique_ptr<Env> env =
        NewCompositeEnv(std::make_shared<Files>(base->GetFileSystem(), ring));
    return new rocksdb_env_t{ env.release(), false };
}
