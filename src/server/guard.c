/* guard.c - what others on this machine can see of the server. Its memory holds keys and patients'
 * data, and so do its folders: no core files, no look into the process, no mode that lets others
 * in. */
#include "server/serve_private.h"

#include "base/log.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Memory holds keys and patients' data: no core file, and no look into it by others of the same
 * user. */
void guard_memory(bool core_dumps)
{
    if (core_dumps)
        return;
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) != 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        LOG(LOG_WARN, "core_dumps", LOG_STR("note", "they cannot be switched off here"));
}

static void tell_mode(const char *folder, mode_t mode, const char *note)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%04o", (unsigned)mode & 07777);
    LOG(LOG_WARN, "folder_mode", LOG_STR("folder", folder), LOG_STR("mode", text),
        LOG_STR("note", note));
}

/* A folder that only this program uses is its owner's alone, whatever it was made with. */
void guard_folder(const char *path, const char *name)
{
    struct stat st;
    if (stat(path, &st) != 0 || (st.st_mode & 077) == 0)
        return;
    tell_mode(name, st.st_mode,
              chmod(path, 0700) == 0 ? "others could enter it; it is its owner's alone now"
                                     : "others can enter it, and its mode cannot be changed");
}

/* What the server makes in DATA, in a start that fails, too, or its owner may put there before the
 * first start. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = { "credentials", "smart-clients", "objects",
                                        "jobs",        "lock",          "lost+found" };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return name[0] == '.';
}

void guard_first_use(const char *path, const char *system_path)
{
    unsigned n = 0;
    DIR *dir = access(system_path, F_OK) != 0 ? opendir(path) : NULL;
    if (dir == NULL)
        return;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;)
        n += !is_ours(d->d_name);
    closedir(dir);
    if (n)
        LOG(LOG_WARN, "data_folder", LOG_STR("data", path), LOG_INT("others", n),
            LOG_STR("note", "the folder holds other files and becomes a data folder now: give "
                            "--data another if it was not meant"));
}

/* DATA itself may be shared on purpose (DATA/objects); but who may write into it can put a folder
 * in another's place. */
void guard_data_folder(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 022))
        tell_mode("data", st.st_mode,
                  "others may write into the data folder: take that right away");
}
